// Build an integration and sync a tenant with the release, as a continuous integration job does.
// Arguments: the URL of the API, the API key and the id of the integration.
const [url, key, integration] = process.argv.slice(2);
const headers = { "X-API-KEY": key, "Content-Type": "application/json" };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function call(method, path, body) {
  const content = body && JSON.stringify(body);
  const response = await fetch(`${url}/v2${path}`, { method, headers, body: content });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

async function until(find) {
  for (;;) {
    const found = await find();
    if (found) return found;
    await sleep(20);
  }
}

const integrations = [];
for (let skip = 0, page; !page || page.length === 1; skip += 1) {
  page = await call("GET", `/integrations?skip=${skip}&limit=1`);
  integrations.push(...page);
}
const releases = `/integrations/${integration}/releases`;
const before = await call("GET", releases);
const build = { tag: "v7", integration_id: Number(integration) };
await call("POST", "/sourcecontrol/build?mode=normal", build);
const isBuilt = (release) => release.tag === build.tag;
const release = await until(async () => (await call("GET", releases)).find(isBuilt));
const [tenant] = await call("GET", `/tenants?integration_id=${integration}&limit=1`);
const payload = { release: release.id };
const { trigger_id } = await call("POST", `/tenants/${tenant.id}/sync?mode=normal`, payload);
const status = await until(async () => {
  const answer = await call("GET", `/runs/triggers/${trigger_id}/status`);
  return /^(succeeded|failed)/i.test(answer?.status ?? "") && answer.status;
});
const found = { integrations: integrations.length, before: before.length };
console.log(JSON.stringify({ ...found, tenant: tenant.id, status }));
