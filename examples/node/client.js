// Checks tokens: retries, deadlines, and a cache that drops what has ended.

import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PROTO = process.env.TOKENWARD_PROTO ?? fileURLToPath(new URL("../../proto", import.meta.url));
const definition = protoLoader.loadSync(
  ["token_service", "token_admin_service"].map((name) => `tokenward/v1/${name}.proto`),
  { includeDirs: [PROTO], keepCase: false, longs: String, enums: String, defaults: true, oneofs: true },
);
const { TokenService, TokenAdminService } = grpc.loadPackageDefinition(definition).tokenward.v1;

const SERVICE_CONFIG = {
  // Every replica that the name resolves to. (grpc-js checks no health; a lost replica is noticed by its connection.)
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      // These are safe to repeat. IssueToken is with a request_id only; a second RevokeAll may end a session that was
      // issued after the first.
      name: ["Authenticate", "BatchAuthenticate", "Revoke"].map((method) => ({
        service: "tokenward.v1.TokenService",
        method,
      })),
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.05s",
        maxBackoff: "1s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};
// Retries included. Without one, a call waits for ever.
const DEADLINE_MS = 2_000;
// A revoked token is accepted for no longer, whatever happens to the stream of revocations. Where the server
// has no such stream (UNIMPLEMENTED), it is for as long as cacheableFor says.
const LONGEST_SILENCE_MS = 5_000;
const MAX_ENTRIES = 10_000;

/** Checks tokens as one caller; `key` is the caller's own, in the server's callers file, and `ca` the authority's PEM. */
export class Client {
  #metadata = new grpc.Metadata();
  #tokens;

  constructor(address, { key, ca } = {}) {
    if (key) this.#metadata.set("authorization", `Bearer ${key}`);
    const credentials = ca ? grpc.credentials.createSsl(ca) : grpc.credentials.createInsecure();
    const options = {
      "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
      // A connection that is dead without a word is noticed.
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 3_000,
    };
    this.#tokens = new TokenService(address, credentials, options);
    this.cache = new Cache(new TokenAdminService(address, credentials, options), this.#metadata);
  }

  /**
   * The answer for a token that is good now; null for any other.
   * Throws when nobody can tell: refuse the request then, with 503 and not with 401.
   */
  async authenticate(token, requiredScopes = []) {
    const name = createHash("sha256").update(JSON.stringify([token, requiredScopes])).digest("hex");
    const kept = this.cache.get(name);
    if (kept) return kept;
    const mark = this.cache.mark();
    const answer = await this.call("authenticate", { token, requiredScopes, minRevision: mark.revision });
    // An expired, revoked or unknown token is no error: the status is OK, and `active` is false.
    if (!answer.active) return null;
    if (answer.cacheableFor) this.cache.put(name, answer, mark);
    return answer;
  }

  /** A method of TokenService. */
  call(method, request) {
    const deadline = Date.now() + DEADLINE_MS;
    return new Promise((resolve, reject) => {
      const done = (error, answer) => (error ? reject(error) : resolve(answer));
      this.#tokens[method](request, this.#metadata, { deadline }, done);
    });
  }

  close() {
    this.cache.close();
    this.#tokens.close();
  }
}

/** Answers for as long as the server allows, and no longer than their token is heard to live. */
class Cache {
  #admin;
  #metadata;
  #answers = new Map();
  #revision = "";
  #events = 0;
  // When the latest message came; never before the first one, and always where the server has no such stream.
  #heard = -Infinity;
  #stream;
  #again;

  constructor(admin, metadata) {
    this.#admin = admin;
    this.#metadata = metadata;
    this.#follow();
  }

  get(name) {
    const { until, answer } = this.#answers.get(name) ?? {};
    return this.isFollowing() && performance.now() < until ? answer : null;
  }

  /** What is known before a call, and when that is. */
  mark() {
    const time = performance.now();
    return { time, revision: this.#revision, events: this.#events, following: this.isFollowing() };
  }

  put(name, answer, mark) {
    // What came while the call was under way may be about this very token.
    if (!mark.following || mark.events !== this.#events) return;
    if (this.#answers.size >= MAX_ENTRIES) this.#answers.clear();
    const { seconds, nanos } = answer.cacheableFor;
    // From before the call: counted from its receipt, a slow answer would outlive its token.
    this.#answers.set(name, { until: mark.time + Number(seconds) * 1e3 + nanos / 1e6, answer });
  }

  /** Whether answers can be kept. */
  isFollowing() {
    return performance.now() - this.#heard < LONGEST_SILENCE_MS;
  }

  close() {
    clearTimeout(this.#again);
    this.#stream?.cancel();
    this.#stream = null;
    this.#admin.close();
  }

  #follow() {
    const stream = this.#admin.watchRevocations({ startRevision: this.#revision }, this.#metadata);
    this.#stream = stream;
    stream.on("data", (event) => this.#hear(event));
    // Without a listener an error would end the process. Its status follows, as the OK of a stream that just ends does.
    stream.on("error", () => {});
    stream.on("status", ({ code }) => {
      if (this.#stream !== stream) return;
      if (code === grpc.status.UNIMPLEMENTED) {
        // An older server: what it allows in cacheableFor is all that there is.
        this.#heard = Infinity;
        return;
      }
      if (code === grpc.status.OUT_OF_RANGE) this.#startOver();
      this.#again = setTimeout(() => this.#follow(), 200);
    });
  }

  #hear(event) {
    this.#heard = performance.now();
    this.#revision = event.revision;
    if (!event.subject) return; // a heartbeat
    this.#events += 1;
    for (const [name, { answer }] of this.#answers) {
      if (answer.token[event.subject] === event[event.subject]) this.#answers.delete(name);
    }
  }

  /** The server no longer knows what ended since our revision. */
  #startOver() {
    this.#answers.clear();
    this.#events += 1;
    this.#heard = -Infinity;
    this.#revision = "";
  }
}
