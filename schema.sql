-- The tables and triggers of alarm-hub: the only DDL. Needs nothing newer than SQLite 3.24.
--
-- No NOT NULL and no CHECK on `alarm`: an odd row is degraded when it is delivered, never refused inside the
-- transaction of the program that writes it. For the same reason nothing in a trigger may fail.
CREATE TABLE IF NOT EXISTS alarm (
  id TEXT, lang TEXT, message TEXT, isn_dt TEXT DEFAULT (datetime('now', 'localtime')), user_id TEXT, PRIMARY KEY (id, lang)
);
-- The log of changes. Each line holds the row as it was BEFORE the change, so that the table at any position can be
-- told from the table now. existed: 0 there was none, 1 this one, 2 this one, which a statement is about to replace (or
-- to leave alone). seq is the position: one writer at a time makes it the order of commits. at is when the statement
-- ran, in milliseconds since 1970: what a commit and a delivery are measured by.
CREATE TABLE IF NOT EXISTS alarm_log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, alarm_id TEXT, lang, existed INTEGER NOT NULL, message, isn_dt, user_id,
  at INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
);
CREATE INDEX IF NOT EXISTS alarm_log_by_alarm ON alarm_log (alarm_id, seq);
-- One row an alarm: its place in the order, the seq of its first row, and whom that row is for (NULL: everyone).
CREATE TABLE IF NOT EXISTS alarm_index (seq INTEGER PRIMARY KEY, alarm_id TEXT NOT NULL UNIQUE, user_id TEXT);
CREATE INDEX IF NOT EXISTS alarm_index_by_user ON alarm_index (user_id, seq);
-- Whom else a row of that alarm is or was for. Who reads it looks at the rows themselves.
CREATE TABLE IF NOT EXISTS alarm_audience (user_id TEXT, seq INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS alarm_audience_by_user ON alarm_audience (user_id, seq);
CREATE INDEX IF NOT EXISTS alarm_audience_by_seq ON alarm_audience (seq);
CREATE TABLE IF NOT EXISTS alarm_ack (user_id TEXT, alarm_id TEXT, at INTEGER, PRIMARY KEY (user_id, alarm_id));
CREATE INDEX IF NOT EXISTS alarm_ack_by_alarm ON alarm_ack (alarm_id);
-- Claims up to this one are worth nothing (32 hex digits, so that their order is that of the text).
CREATE TABLE IF NOT EXISTS hub_claim (user_id TEXT PRIMARY KEY, revoked TEXT NOT NULL, at INTEGER NOT NULL);
-- Digests of tickets: until when it may be used first, when what it opened ends, which claim that is. In milliseconds
-- since 1970.
CREATE TABLE IF NOT EXISTS hub_ticket (
  digest BLOB PRIMARY KEY, user_id TEXT NOT NULL, until INTEGER NOT NULL, expires INTEGER, used INTEGER NOT NULL, claim TEXT
);
-- schema: the version of all this. feed: the database's name. adopted: positions up to this one are history.
-- pruned: the last seq that is no longer in the log. chore…: how far the rows that no trigger told of have been put
-- into alarm_index.
CREATE TABLE IF NOT EXISTS hub_meta (key TEXT PRIMARY KEY, value);

-- REPLACE fires no DELETE trigger (unless recursive_triggers is on): the row that is about to be replaced is told here.
-- (Where lang is NULL nothing is replaced, but another row of the same alarm and language is there already all the same.)
CREATE TRIGGER IF NOT EXISTS alarm_hub_before_insert BEFORE INSERT ON alarm
WHEN EXISTS (SELECT 1 FROM alarm AS row WHERE row.id = NEW.id AND row.lang IS NEW.lang)
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed, message, isn_dt, user_id)
  SELECT CAST(row.id AS TEXT), row.lang, 2, substr(row.message, 1, 65537), row.isn_dt, row.user_id
  FROM alarm AS row WHERE row.id = NEW.id AND row.lang IS NEW.lang;
END;
CREATE TRIGGER IF NOT EXISTS alarm_hub_before_update BEFORE UPDATE OF id, lang ON alarm
WHEN EXISTS (SELECT 1 FROM alarm AS row WHERE row.id = NEW.id AND row.lang IS NEW.lang
             AND (row.id IS NOT OLD.id OR row.lang IS NOT OLD.lang))
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed, message, isn_dt, user_id)
  SELECT CAST(row.id AS TEXT), row.lang, 2, substr(row.message, 1, 65537), row.isn_dt, row.user_id
  FROM alarm AS row WHERE row.id = NEW.id AND row.lang IS NEW.lang AND (row.id IS NOT OLD.id OR row.lang IS NOT OLD.lang);
END;
CREATE TRIGGER IF NOT EXISTS alarm_hub_insert AFTER INSERT ON alarm
WHEN NOT EXISTS (SELECT 1 FROM alarm_log WHERE seq = (SELECT max(seq) FROM alarm_log)
                 AND existed = 2 AND alarm_id = CAST(NEW.id AS TEXT) AND lang IS NEW.lang)
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed) VALUES (CAST(NEW.id AS TEXT), NEW.lang, 0);
  -- An alarm's first row. (Others of an adopted alarm may come before it has its place.) In a trigger the outer
  -- statement's OR overrides an inner one, but not DO NOTHING.
  INSERT INTO alarm_index (seq, alarm_id, user_id)
  SELECT last_insert_rowid(), CAST(NEW.id AS TEXT), NEW.user_id
  WHERE NEW.id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM alarm WHERE id = NEW.id AND lang IS NOT NEW.lang)
  ON CONFLICT (alarm_id) DO NOTHING;
END;
CREATE TRIGGER IF NOT EXISTS alarm_hub_insert_audience AFTER INSERT ON alarm
WHEN EXISTS (SELECT 1 FROM alarm_index WHERE alarm_id = CAST(NEW.id AS TEXT) AND user_id IS NOT NEW.user_id)
BEGIN
  INSERT INTO alarm_audience (user_id, seq)
  SELECT NEW.user_id, i.seq FROM alarm_index AS i
  WHERE i.alarm_id = CAST(NEW.id AS TEXT)
    AND NOT EXISTS (SELECT 1 FROM alarm_audience AS a WHERE a.seq = i.seq AND a.user_id IS NEW.user_id);
END;
CREATE TRIGGER IF NOT EXISTS alarm_hub_update AFTER UPDATE ON alarm
WHEN OLD.id IS NEW.id AND OLD.lang IS NEW.lang
  AND (OLD.message IS NOT NEW.message OR OLD.isn_dt IS NOT NEW.isn_dt OR OLD.user_id IS NOT NEW.user_id)
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed, message, isn_dt, user_id)
  VALUES (CAST(OLD.id AS TEXT), OLD.lang, 1, substr(OLD.message, 1, 65537), OLD.isn_dt, OLD.user_id);
END;
CREATE TRIGGER IF NOT EXISTS alarm_hub_update_key AFTER UPDATE ON alarm
WHEN OLD.id IS NOT NEW.id OR OLD.lang IS NOT NEW.lang
BEGIN
  -- The new key first: an alarm whose row gets another language is never away.
  INSERT INTO alarm_log (alarm_id, lang, existed)
  SELECT CAST(NEW.id AS TEXT), NEW.lang, 0
  WHERE NOT EXISTS (SELECT 1 FROM alarm_log WHERE seq = (SELECT max(seq) FROM alarm_log)
                    AND existed = 2 AND alarm_id = CAST(NEW.id AS TEXT) AND lang IS NEW.lang);
  INSERT INTO alarm_index (seq, alarm_id, user_id)
  SELECT seq, alarm_id, NEW.user_id FROM alarm_log
  WHERE seq = (SELECT max(seq) FROM alarm_log) AND existed = 0 AND OLD.id IS NOT NEW.id AND alarm_id IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM alarm WHERE id = NEW.id AND lang IS NOT NEW.lang)
  ON CONFLICT (alarm_id) DO NOTHING;
  INSERT INTO alarm_log (alarm_id, lang, existed, message, isn_dt, user_id)
  VALUES (CAST(OLD.id AS TEXT), OLD.lang, 1, substr(OLD.message, 1, 65537), OLD.isn_dt, OLD.user_id);
  DELETE FROM alarm_index WHERE alarm_id = CAST(OLD.id AS TEXT) AND NOT EXISTS (SELECT 1 FROM alarm WHERE id = OLD.id);
END;
CREATE TRIGGER IF NOT EXISTS alarm_hub_update_audience AFTER UPDATE ON alarm
WHEN EXISTS (SELECT 1 FROM alarm_index WHERE alarm_id = CAST(NEW.id AS TEXT) AND user_id IS NOT NEW.user_id)
BEGIN
  INSERT INTO alarm_audience (user_id, seq)
  SELECT NEW.user_id, i.seq FROM alarm_index AS i
  WHERE i.alarm_id = CAST(NEW.id AS TEXT)
    AND NOT EXISTS (SELECT 1 FROM alarm_audience AS a WHERE a.seq = i.seq AND a.user_id IS NEW.user_id);
END;
-- A row that was about to be replaced. With recursive_triggers on, the REPLACE itself comes here: that is no deletion, and the
-- alarm keeps its place. What tells: a REPLACE overrides the OR IGNORE of a statement in here, a DELETE does not.
CREATE TRIGGER IF NOT EXISTS alarm_hub_delete_replaced AFTER DELETE ON alarm
WHEN EXISTS (SELECT 1 FROM alarm_log WHERE seq = (SELECT max(seq) FROM alarm_log)
             AND existed = 2 AND alarm_id = CAST(OLD.id AS TEXT) AND lang IS OLD.lang)
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed, message, isn_dt, user_id)
  VALUES (CAST(OLD.id AS TEXT), OLD.lang, 1, substr(OLD.message, 1, 65537), OLD.isn_dt, OLD.user_id);
  INSERT OR IGNORE INTO alarm_log (seq, alarm_id, lang, existed, message, isn_dt, user_id, at)
  SELECT seq, alarm_id, lang, 2, message, isn_dt, user_id, at FROM alarm_log WHERE seq = last_insert_rowid();
  DELETE FROM alarm_index WHERE alarm_id = CAST(OLD.id AS TEXT)
    AND NOT EXISTS (SELECT 1 FROM alarm WHERE id = OLD.id)
    AND EXISTS (SELECT 1 FROM alarm_log WHERE seq = (SELECT max(seq) FROM alarm_log) AND existed = 1);
END;
CREATE TRIGGER IF NOT EXISTS alarm_hub_delete AFTER DELETE ON alarm
WHEN NOT EXISTS (SELECT 1 FROM alarm_log WHERE seq = (SELECT max(seq) FROM alarm_log)
                 AND existed = 2 AND alarm_id = CAST(OLD.id AS TEXT) AND lang IS OLD.lang)
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed, message, isn_dt, user_id)
  VALUES (CAST(OLD.id AS TEXT), OLD.lang, 1, substr(OLD.message, 1, 65537), OLD.isn_dt, OLD.user_id);
  DELETE FROM alarm_index WHERE alarm_id = CAST(OLD.id AS TEXT) AND NOT EXISTS (SELECT 1 FROM alarm WHERE id = OLD.id);
END;
-- What is known of an alarm goes with it.
CREATE TRIGGER IF NOT EXISTS alarm_hub_forget AFTER DELETE ON alarm_index
BEGIN
  DELETE FROM alarm_audience WHERE seq = OLD.seq;
  DELETE FROM alarm_ack WHERE alarm_id = OLD.alarm_id;
END;
