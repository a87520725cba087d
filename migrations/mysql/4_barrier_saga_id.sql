-- A saga that is a step of another one has that one's id, and the names of the steps, in its
-- own id.
ALTER TABLE outrigger_barrier MODIFY saga_id VARBINARY(512) NOT NULL;
