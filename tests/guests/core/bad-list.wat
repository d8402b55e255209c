;; Answers with a header list outside its memory.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (drop (call $respond (i32.const 200)))
    (i32.store (i32.const 4100) (i32.const 0x7fffff00))
    (i32.store (i32.const 4104) (i32.const 4))
    (i32.const 4096)))
