;; Never finishes instantiating: the start function loops.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  (func $start (loop $for_ever (br $for_ever)))
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200)))
  (start $start))
