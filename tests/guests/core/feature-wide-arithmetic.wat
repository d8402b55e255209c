;; A good guest but for one thing: a 128-bit addition.
(module
  
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (param i64 i64 i64 i64) (result i64 i64) (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
