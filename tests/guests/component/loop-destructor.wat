;; Drops a resource whose destructor never returns. Written as a component because wit cannot ask for a destructor here.
(component
  (import "alga:extension/types" (instance $types
    (type $http-header' (record (field "name" string) (field "value" string)))
    (export "http-header" (type $http-header (eq $http-header')))
    (type $context-data' (record
      (field "request-id" (option string)) (field "tenant-id" string) (field "extension-id" string)
      (field "install-id" (option string)) (field "version-id" (option string))))
    (export "context-data" (type $context-data (eq $context-data')))
    (type $http-request' (record
      (field "method" string) (field "url" string) (field "headers" (list $http-header))
      (field "body" (option (list u8)))))
    (export "http-request" (type $http-request (eq $http-request')))
    (type $execute-request' (record (field "context" $context-data) (field "http" $http-request)))
    (export "execute-request" (type $execute-request (eq $execute-request')))
    (type $execute-response' (record
      (field "status" u16) (field "headers" (list $http-header)) (field "body" (option (list u8)))))
    (export "execute-response" (type $execute-response (eq $execute-response')))))
  (alias export $types "execute-request" (type $request))
  (alias export $types "execute-response" (type $response))
  (core module $endless
    (func (export "destructor") (param i32) (loop $for_ever (br $for_ever))))
  (core instance $endless (instantiate $endless))
  (type $held (resource (rep i32) (dtor (core func $endless "destructor"))))
  (core func $new (canon resource.new $held))
  (core func $drop (canon resource.drop $held))
  (core module $main
    (import "held" "new" (func $new (param i32) (result i32)))
    (import "held" "drop" (func $drop (param i32)))
    (memory (export "memory") 2)
    (global $heap (mut i32) (i32.const 8192))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (local $start i32)
      (local.set $start (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
      (global.set $heap (i32.add (local.get $start) (local.get 3)))
      (local.get $start))
    (func (export "handler") (param i32) (result i32)
      (call $drop (call $new (i32.const 7)))
      (i32.store (i32.const 4096) (i32.const 200))
      (i32.const 4096)))
  (core instance $main (instantiate $main (with "held" (instance
    (export "new" (func $new)) (export "drop" (func $drop))))))
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "cabi_realloc" (core func $realloc))
  (alias core export $main "handler" (core func $handler))
  (func $lifted (param "request" $request) (result $response)
    (canon lift (core func $handler) (memory (core memory $memory)) (realloc (core func $realloc))))
  (export "handler" (func $lifted)))
