;; A good guest but for one thing: a memory with pages of one byte.
(module
  
  ;;@memory
  ;;@realloc
  ;;@respond
  (memory $tiny 1 (pagesize 1))
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
