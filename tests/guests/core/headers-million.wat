;; Answers 200 with a million headers, each of an empty name and an empty value.
(module
  (memory (export "memory") 300)
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (drop (call $respond (i32.const 200)))
    (i32.store (i32.const 4100) (i32.const 131072))
    (i32.store (i32.const 4104) (i32.const 1000000))
    (i32.const 4096)))
