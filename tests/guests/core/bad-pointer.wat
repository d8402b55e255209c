;; Answers with a pointer outside its memory.
(module
  ;;@memory
  ;;@realloc
  (func (export "handler") (param $request i32) (result i32)
    (i32.const -16)))
