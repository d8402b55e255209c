;; A good guest with more exports than asked for.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200)))
  (func (export "extra#describe") (result i32)
    (i32.const 4096)))
