-- Publishers, their public keys, and which extension names are theirs: global tables.

-- name: create_publisher
-- A new publisher; its name taken already is a unique violation.
INSERT INTO extension_publisher (name) VALUES ($1) RETURNING id, name, state, created_at

-- name: find_publisher
-- One publisher by its id.
SELECT id, name, state, created_at FROM extension_publisher WHERE id = $1

-- name: find_publisher_by_name
-- One publisher by its display name.
SELECT id, name, state, created_at FROM extension_publisher WHERE name = $1

-- name: list_publishers
-- A page in the order of names, strictly after the given one.
SELECT id, name, state, created_at FROM extension_publisher WHERE name > $1 ORDER BY name LIMIT $2

-- name: set_publisher_state
-- Suspend a publisher or make it active again.
UPDATE extension_publisher SET state = $2, updated_at = now() WHERE id = $1 RETURNING id, name, state, created_at

-- name: add_key
-- A public key from a moment on, until another or for ever; registered already, by whomever, is a unique violation.
WITH added AS (
    INSERT INTO extension_publisher_key (publisher_id, key_id, algorithm, public_key, not_before, not_after)
    VALUES ($1, $2, 'ed25519', $3, coalesce($4, now()), $5)
    RETURNING *
)
SELECT p.name AS publisher, k.key_id, k.public_key, k.not_before, k.not_after, k.revoked_at
FROM added AS k JOIN extension_publisher AS p ON p.id = k.publisher_id

-- name: revoke_key
-- From now on the key verifies nothing; a key revoked earlier keeps its time.
UPDATE extension_publisher_key SET revoked_at = coalesce(revoked_at, now()) WHERE publisher_id = $1 AND key_id = $2

-- name: list_keys
-- All keys of a publisher, revoked and expired ones too, in the order they became valid.
SELECT p.name AS publisher, k.key_id, k.public_key, k.not_before, k.not_after, k.revoked_at
FROM extension_publisher_key AS k JOIN extension_publisher AS p ON p.id = k.publisher_id
WHERE k.publisher_id = $1 ORDER BY k.not_before, k.key_id

-- name: find_key
-- The key behind a signature, whosever it is.
SELECT p.name AS publisher, k.key_id, k.public_key, k.not_before, k.not_after, k.revoked_at
FROM extension_publisher_key AS k JOIN extension_publisher AS p ON p.id = k.publisher_id
WHERE k.key_id = $1

-- name: claim_name
-- The extension of this name for its publisher, made on first use. The update changes nothing: it locks the row and
-- lets it be returned, whoever owns it.
INSERT INTO extension_registry (publisher, name, display_name, publisher_id) VALUES ($1, $2, $2, $3)
ON CONFLICT (name) DO UPDATE SET name = excluded.name
RETURNING id, publisher_id

-- name: find_owner
-- Whose an extension name is.
SELECT p.id, p.name, p.state, p.created_at
FROM extension_registry AS r JOIN extension_publisher AS p ON p.id = r.publisher_id
WHERE r.name = $1
