;; A good guest but for one thing: a relaxed SIMD instruction.
(module
  
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (param v128 v128) (result v128) (f32x4.relaxed_min (local.get 0) (local.get 1)))
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
