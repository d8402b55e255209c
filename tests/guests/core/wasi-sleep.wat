;; Sleeps as many milliseconds as the number at the end of the url says, by a WASI poll; then 200.
(module
  (import "wasi:clocks/monotonic-clock@0.2.9" "subscribe-duration" (func $subscribe (param i64) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  ;;@memory
  ;;@realloc
  ;;@respond
  ;;@number
  (func (export "handler") (param $request i32) (result i32)
    (call $block
      (call $subscribe (i64.mul (i64.extend_i32_u (call $number (local.get $request))) (i64.const 1000000))))
    (call $respond (i32.const 200))))
