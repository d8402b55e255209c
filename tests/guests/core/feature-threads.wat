;; A good guest but for one thing: an atomic instruction of the threads proposal.
(module
  
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (drop (i32.atomic.load (i32.const 1024))))
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
