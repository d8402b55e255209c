;; A good guest but for one thing: a typed function reference.
(module
  (type $step (func (result i32)))
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (param (ref $step)) (result i32) (call_ref $step (local.get 0)))
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
