;; A good guest but for one thing: a second memory.
(module
  
  ;;@memory
  ;;@realloc
  ;;@respond
  (memory $second 1)
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
