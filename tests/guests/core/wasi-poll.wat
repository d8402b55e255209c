;; Waits for the sooner of two WASI timers, one as many milliseconds ahead as the number at the end of the url says, the
;; other a minute; then 200. A poll of two handles is what every JavaScript event loop makes.
(module
  (import "wasi:clocks/monotonic-clock@0.2.9" "subscribe-duration" (func $subscribe (param i64) (result i32)))
  (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
  ;;@memory
  ;;@realloc
  ;;@respond
  ;;@number
  (func (export "handler") (param $request i32) (result i32)
    (i32.store (i32.const 2048) (call $subscribe (i64.const 60000000000)))
    (i32.store (i32.const 2052)
      (call $subscribe (i64.mul (i64.extend_i32_u (call $number (local.get $request))) (i64.const 1000000))))
    (call $poll (i32.const 2048) (i32.const 2) (i32.const 3072))
    (call $respond (i32.const 200))))
