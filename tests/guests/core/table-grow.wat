;; Grows a table until it is refused; answers 200 with the number of elements as little-endian u32.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  (table $table 1 funcref)
  (func (export "handler") (param $request i32) (result i32)
    (loop $more
      (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 4096)) (i32.const -1))))
    (i32.store (i32.const 1024) (table.size $table))
    (call $respond_body (i32.const 200) (i32.const 1024) (i32.const 4))))
