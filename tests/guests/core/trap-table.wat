;; Traps: a call through a table element that is out of bounds.
(module
  ;;@memory
  ;;@realloc
  (type $step (func (result i32)))
  (table 1 1 funcref)
  (func (export "handler") (param $request i32) (result i32)
    (call_indirect (type $step) (i32.const 7))))
