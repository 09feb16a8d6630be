"""A script that measures the contrast of all texts on a page."""

# By the rules of WCAG 2: the contrast of each piece of text with what is behind it.
CONTRASTS = """
const luminance = (rgb) => rgb.slice(0, 3).reduce((sum, value, index) => {
  const part = value / 255;
  const linear = part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  return sum + linear * [0.2126, 0.7152, 0.0722][index];
}, 0);
const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const color = numbers(getComputedStyle(node).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
const found = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const node = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !node.checkVisibility() || node.closest("script, noscript")) continue;
  const [low, high] = [luminance(numbers(getComputedStyle(node).color)), luminance(ground(node))].sort((a, b) => a - b);
  found.push([texts.currentNode.data, (high + 0.05) / (low + 0.05)]);
}
return found;
"""  # noqa: E501 - a script
