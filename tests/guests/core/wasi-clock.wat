;; Reads the monotonic clock in a tight loop: 200 with the smallest step other than zero, in ns, as little-endian u64.
(module
  (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (local $turns i32) (local $before i64) (local $after i64) (local $least i64)
    (local.set $before (call $now))
    (local.set $least (i64.const -1))
    (loop $turn
      (local.set $after (call $now))
      (if (i64.ne (local.get $after) (local.get $before))
        (then
          (if (i64.lt_u (i64.sub (local.get $after) (local.get $before)) (local.get $least))
            (then (local.set $least (i64.sub (local.get $after) (local.get $before)))))
          (local.set $before (local.get $after))))
      (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
      (br_if $turn (i32.lt_u (local.get $turns) (i32.const 20000))))
    (i64.store (i32.const 1024) (local.get $least))
    (call $respond_body (i32.const 200) (i32.const 1024) (i32.const 8))))
