;; Answers with a body option that is neither none nor some.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (drop (call $respond (i32.const 200)))
    (i32.store (i32.const 4108) (i32.const 7))
    (i32.const 4096)))
