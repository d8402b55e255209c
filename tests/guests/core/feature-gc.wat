;; A good guest but for one thing: a struct type of the GC proposal.
(module
  (type $pair (struct (field i32) (field i32)))
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (drop (struct.new $pair (i32.const 1) (i32.const 2))))
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
