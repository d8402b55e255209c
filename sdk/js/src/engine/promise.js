/** Promises whose jobs run when `drain` is called: ECMAScript's semantics, with the queue in our hands. */

const jobs = [];

export function drain() {
  for (let next = 0; next < jobs.length; next += 1) jobs[next]();
  jobs.length = 0;
}

export function enqueue(job) {
  jobs.push(job);
}

export class QueuedPromise {
  #state = "pending";
  #value;
  #reactions = [];

  constructor(executor) {
    const { resolve, reject } = this.#resolvers();
    try {
      executor(resolve, reject);
    } catch (error) {
      reject(error);
    }
  }

  then(onFulfilled, onRejected) {
    return new QueuedPromise((resolve, reject) => {
      const run = () => {
        const handler = this.#state === "fulfilled" ? onFulfilled : onRejected;
        if (typeof handler !== "function") {
          return this.#state === "fulfilled" ? resolve(this.#value) : reject(this.#value);
        }
        try {
          resolve(handler(this.#value));
        } catch (error) {
          reject(error);
        }
      };
      if (this.#state === "pending") this.#reactions.push(run);
      else enqueue(run);
    });
  }

  catch(onRejected) {
    return this.then(undefined, onRejected);
  }

  finally(onSettled) {
    return this.then(
      (value) => QueuedPromise.resolve(onSettled()).then(() => value),
      (error) => QueuedPromise.resolve(onSettled()).then(() => QueuedPromise.reject(error)),
    );
  }

  #resolvers() {
    let called = false;
    const once = (settle) => (value) => {
      if (called) return;
      called = true;
      settle(value);
    };
    return { resolve: once((value) => this.#follow(value)), reject: once((error) => this.#settle("rejected", error)) };
  }

  #follow(value) {
    if (value === this) return this.#settle("rejected", new TypeError("a promise cannot resolve to itself"));
    let then;
    try {
      then = value !== null && (typeof value === "object" || typeof value === "function") ? value.then : undefined;
    } catch (error) {
      return this.#settle("rejected", error);
    }
    if (typeof then !== "function") return this.#settle("fulfilled", value);
    enqueue(() => {
      const { resolve, reject } = this.#resolvers();
      try {
        then.call(value, resolve, reject);
      } catch (error) {
        reject(error);
      }
    });
  }

  #settle(state, value) {
    this.#state = state;
    this.#value = value;
    this.#reactions.forEach(enqueue);
    this.#reactions = [];
  }

  static resolve(value) {
    return value instanceof QueuedPromise ? value : new QueuedPromise((resolve) => resolve(value));
  }

  static reject(error) {
    return new QueuedPromise((_, reject) => reject(error));
  }

  static withResolvers() {
    const parts = {};
    parts.promise = new QueuedPromise((resolve, reject) => Object.assign(parts, { resolve, reject }));
    return parts;
  }

  static all(values) {
    return collect(values, (promise, keep, fail) => promise.then(keep, fail));
  }

  static allSettled(values) {
    return collect(values, (promise, keep) =>
      promise.then(
        (value) => keep({ status: "fulfilled", value }),
        (reason) => keep({ status: "rejected", reason }),
      ),
    );
  }

  static race(values) {
    return new QueuedPromise((resolve, reject) => {
      for (const value of values) QueuedPromise.resolve(value).then(resolve, reject);
    });
  }

  static any(values) {
    return collect(values, (promise, keep, fail) => promise.then(fail, keep)).then(
      (errors) => QueuedPromise.reject(new AggregateError(errors, "every promise was rejected")),
      (value) => value,
    );
  }
}

function collect(values, attach) {
  return new QueuedPromise((resolve, reject) => {
    const results = [];
    let open = 1;
    const close = () => {
      open -= 1;
      if (open === 0) resolve(results);
    };
    let index = 0;
    for (const value of values) {
      const slot = index;
      index += 1;
      open += 1;
      const keep = (result) => {
        results[slot] = result;
        close();
      };
      attach(QueuedPromise.resolve(value), keep, reject);
    }
    close();
  });
}
