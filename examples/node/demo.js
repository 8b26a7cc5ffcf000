// node demo.js ADDRESS [CALLERS_KEY]: issues a token, checks it, revokes it, and checks it again.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "./client.js";

/** Waits until it holds, and says how many milliseconds that took. */
async function until(what, holds) {
  const start = performance.now();
  while (!(await holds())) {
    assert(performance.now() - start < 20_000, `not within 20 s: ${what}`);
    await sleep(10);
  }
  return performance.now() - start;
}

const [address, key] = process.argv.slice(2);
const client = new Client(address, { key });

const { secret } = await client.call("issueToken", { userId: "alice", scopes: ["read"] });
await until("the stream of revocations has begun", () => client.cache.isFollowing());
assert.equal(await client.authenticate("0".repeat(64)), null);
assert.equal(await client.authenticate(secret, ["write"]), null);
const answer = await client.authenticate(secret, ["read"]);
console.log("active:", answer.user.userId, ...answer.token.scopes);
const again = await client.authenticate(secret, ["read"]);
console.log("cached:", again === answer ? "yes" : "no");

await client.call("revoke", { token: secret });
const limit = Number(answer.cacheableFor?.seconds ?? 0);
const took = await until("the token is refused", async () => !(await client.authenticate(secret, ["read"])));
console.log(`refused after ${(took / 1e3).toFixed(3)} s; the answer could have been kept for ${limit} s`);
client.close();
