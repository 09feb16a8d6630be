// Test how a program handles failures of the Pandium API. Requires Node.js 20 and the emulator:
//
//     pip install 'pandium[emulator]'
//     node --test failures.test.mjs
//
// PYTHON is the interpreter in which the emulator is installed. The default is python3.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

// --- The program under test ---------------------------------------------------------------------

const TRANSIENT = new Set([429, 500, 502, 503, 504]);
let baseUrl;

class OutcomeUnknown extends Error {}

async function send(method, path, body) {
  const response = await fetch(baseUrl + path, {
    method,
    headers: { "x-api-key": "any key", "content-type": "application/json" },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  });
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  const { status } = response;
  const seconds = response.headers.get("retry-after");
  throw Object.assign(new Error(`${method} ${path}: ${status}`), { status, seconds });
}

// Return the response to a GET, which is retried unless the error is permanent.
async function get(path, attempts = 4) {
  try {
    return await send("GET", path);
  } catch (error) {
    const isTransient = !error.status || TRANSIENT.has(error.status);
    if (attempts === 1 || !isTransient) throw error;
    await sleep((error.seconds ?? 0.05) * 1000);
    return get(path, attempts - 1);
  }
}

// Return all tenants. Pages overlap by one record, which is missing if records have shifted.
async function listTenants(limit) {
  const tenants = [];
  for (;;) {
    const last = tenants.at(-1);
    const skip = Math.max(tenants.length - 1, 0);
    const page = await get(`/v2/tenants?sort_by=id__ASC&skip=${skip}&limit=${limit}`);
    if (last && page[0]?.id !== last.id) {
      tenants.length = 0; // start again
      continue;
    }
    tenants.push(...page.slice(last ? 1 : 0));
    if (page.length < limit) return tenants;
  }
}

// Trigger a sync. It is not retried, because it may have been executed.
async function sync(tenant) {
  try {
    return (await send("POST", `/v2/tenants/${tenant}/sync?mode=normal`)).trigger_id;
  } catch (error) {
    if (error.status < 500) throw error;
    throw new OutcomeUnknown(`tenant ${tenant} may have been triggered`, { cause: error });
  }
}

// Poll until the run ends. A 404 means that the run does not exist yet.
async function wait(trigger, polls = 100) {
  for (let poll = 0; poll < polls; poll++) {
    try {
      const { status } = await get(`/v2/runs/triggers/${trigger}/status`);
      if (status === "Succeeded" || status.startsWith("Failed")) return status;
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    await sleep(10);
  }
  throw new Error(`the run of trigger ${trigger} has not ended`);
}

// --- The emulator -------------------------------------------------------------------------------

let emulator;

// Send a request to the control API. All operations are described at /_emulator/docs.
async function control(method, path, body) {
  const response = await fetch(`${baseUrl}/_emulator${path}`, {
    method,
    headers: { "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${path}: ${text}`);
  return text && JSON.parse(text);
}

before(async () => {
  const command = ["-m", "pandium.emulator", "--port", "0"];
  const stdio = ["ignore", "pipe", "inherit"];
  emulator = spawn(process.env.PYTHON ?? "python3", command, { stdio });
  for await (const line of createInterface({ input: emulator.stdout })) {
    baseUrl = line.replace("Pandium emulator: ", "");
    break;
  }
  assert.ok(baseUrl, "the emulator did not start");
});

after(async () => {
  if (emulator.exitCode === null) {
    emulator.kill();
    await once(emulator, "exit");
  }
});

beforeEach(async () => {
  const tenants = Array.from({ length: 6 }, (_, index) => ({ name: `tenant-${index + 1}` }));
  await control("PUT", "/state", { integrations: [{}], tenants }); // also removes all faults
});

// --- The tests ----------------------------------------------------------------------------------

const ids = (tenants) => tenants.map((tenant) => tenant.id);

test("a listing is retried after errors and a rate limit", async () => {
  const operation = "tenants.list";
  const limit = { type: "rate_limit", retry_after: 1 };
  await control("POST", "/faults", { operation, times: 1, fault: { type: "status", status: 503 } });
  await control("POST", "/faults", { operation, times: 1, fault: limit });
  await control("POST", "/faults", { operation, times: 1, fault: { type: "truncate" } });
  assert.deepEqual(ids(await listTenants(500)), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual((await control("GET", "/faults")).map((fault) => fault.hits), [1, 1, 1]);
});

test("a permanent error is not retried", async () => {
  await control("POST", "/faults", { fault: { type: "status", status: 403 } });
  await assert.rejects(listTenants(500), { status: 403 });
  assert.equal((await control("GET", "/requests")).total, 1);
});

test("no tenant is missed if another one is archived during the listing", async () => {
  const change = { type: "archive_tenant", tenant: 1 };
  await control("POST", "/drift", { timing: "after", operation: "tenants.list", times: 1, change });
  assert.deepEqual(ids(await listTenants(3)), [2, 3, 4, 5, 6]);
});

for (const fault of [
  { type: "reset", after_work: true },
  { type: "status", status: 502, after_work: true },
]) {
  test(`a sync whose response is lost by ${fault.type} is not sent again`, async () => {
    await control("POST", "/faults", { operation: "tenants.sync", times: 1, fault });
    await assert.rejects(sync(4), OutcomeUnknown);
    const effects = await control("GET", "/effects?operation=tenants.sync");
    assert.deepEqual(effects, [{ operation: "tenants.sync", tenant: 4, count: 1 }]);
  });
}

test("a run that appears late and fails is followed to its end", async () => {
  const phases = [["Running", { polls: 2 }], ["Failed (Timeout)", 0]];
  await control("PUT", "/scripts", { tenant: 2, appears_after: { polls: 3 }, phases });
  assert.equal(await wait(await sync(2)), "Failed (Timeout)");
});

test("a run that takes an hour is waited for without waiting an hour", async () => {
  await control("PUT", "/scripts", { appears_after: 3600, phases: [["Succeeded", 0]] });
  const trigger = await sync(3);
  await assert.rejects(wait(trigger, 2), /has not ended/);
  await control("POST", "/clock/forward", { seconds: 3600 });
  assert.equal(await wait(trigger), "Succeeded");
});

test("after an outage, requests succeed again", async () => {
  const { id } = await control("POST", "/outages", {});
  await assert.rejects(listTenants(500));
  await control("DELETE", `/faults/${id}`);
  assert.equal((await listTenants(500)).length, 6);
});
