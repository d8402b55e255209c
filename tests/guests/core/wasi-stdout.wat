;; Writes one line to standard output. The body is one byte: 0 where the write was taken.
(module
  (import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))
  (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush"
    (func $write (param i32 i32 i32 i32)))
  ;;@memory
  (data (i32.const 1100) "written to stdout\n")
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (call $write (call $stdout) (i32.const 1100) (i32.const 18) (i32.const 1024))
    (call $respond_body (i32.const 200) (i32.const 1024) (i32.const 1))))
