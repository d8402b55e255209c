;; The body is 32 bytes: one number of each random interface, two of the seed.
(module
  (import "wasi:random/random@0.2.3" "get-random-u64" (func $random (result i64)))
  (import "wasi:random/insecure@0.2.3" "get-insecure-random-u64" (func $insecure (result i64)))
  (import "wasi:random/insecure-seed@0.2.3" "insecure-seed" (func $seed (param i32)))
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (i64.store (i32.const 1024) (call $random))
    (i64.store (i32.const 1032) (call $insecure))
    (call $seed (i32.const 1040))
    (call $respond_body (i32.const 200) (i32.const 1024) (i32.const 32))))
