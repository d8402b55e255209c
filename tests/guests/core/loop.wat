;; Never returns from the handler.
(module
  ;;@memory
  ;;@realloc
  (func (export "handler") (param $request i32) (result i32)
    (loop $for_ever (br $for_ever))
    (unreachable)))
