;; A good guest but for one thing: a table with 64-bit indices, of the memory64 proposal.
(module
  (table $wide i64 1 1 funcref)
  ;;@memory
  ;;@realloc
  ;;@respond
  
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
