;; Logs one line of 60 MB, over and over.
(module
  (import "alga:extension/logging" "log-info" (func $log (param i32 i32)))
  (memory (export "memory") 1000)
  ;;@realloc
  (func (export "handler") (param $request i32) (result i32)
    (memory.fill (i32.const 131072) (i32.const 97) (i32.const 60000000))
    (loop $for_ever
      (call $log (i32.const 131072) (i32.const 60000000))
      (br $for_ever))
    (unreachable)))
