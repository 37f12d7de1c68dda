-- Records that end the process which judges them: they are dead letters, and whoever replays the lane passes over them.
ALTER TABLE {database}.batches ADD COLUMN IF NOT EXISTS `poison` Array(Int64) COMMENT 'offsets of records that end the process which judges them: dead letters, passed over by replays';
