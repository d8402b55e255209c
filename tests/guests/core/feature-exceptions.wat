;; A good guest but for one thing: a tag of the exception handling proposal.
(module
  (tag $failed (param i32))
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (throw $failed (i32.const 1)))
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
