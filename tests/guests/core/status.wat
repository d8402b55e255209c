;; Answers the status at the end of the url: /status?599. Any u16 can be asked for, 0 and 1000 too.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  ;;@number
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (call $number (local.get $request)))))
