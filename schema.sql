-- The tables and triggers of alarm-hub: the only DDL. Needs nothing newer than SQLite 3.24.
--
-- No NOT NULL and no CHECK on `alarm`: an odd row is degraded when it is delivered, never refused inside the
-- transaction of the program that writes it.
CREATE TABLE IF NOT EXISTS alarm (
  id TEXT, lang TEXT, message TEXT, isn_dt TEXT DEFAULT (datetime('now', 'localtime')), user_id TEXT, PRIMARY KEY (id, lang)
);
-- The log of changes. Each line holds the row as it was BEFORE the change (existed = 0: there was none), so that the
-- table at any position can be told from the table now. seq is the position: one writer at a time makes it the
-- order of commits.
CREATE TABLE IF NOT EXISTS alarm_log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, alarm_id TEXT, lang, existed INTEGER NOT NULL, message, isn_dt, user_id,
  at INTEGER NOT NULL DEFAULT (strftime('%s', 'now'))
);
CREATE INDEX IF NOT EXISTS alarm_log_by_alarm ON alarm_log (alarm_id, seq);
-- One row an alarm: its place in the order, the seq of its first row.
CREATE TABLE IF NOT EXISTS alarm_index (alarm_id TEXT PRIMARY KEY, seq INTEGER NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS alarm_ack (user_id TEXT, alarm_id TEXT, at INTEGER, PRIMARY KEY (user_id, alarm_id));
CREATE TABLE IF NOT EXISTS hub_claim (user_id TEXT PRIMARY KEY, revoked TEXT NOT NULL, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS hub_meta (key TEXT PRIMARY KEY, value);

-- INSERT OR REPLACE fires no DELETE trigger: the row that is about to be replaced is told here.
CREATE TRIGGER IF NOT EXISTS alarm_hub_before_insert BEFORE INSERT ON alarm
WHEN EXISTS (SELECT 1 FROM alarm WHERE id = NEW.id AND lang = NEW.lang)
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed, message, isn_dt, user_id)
  SELECT CAST(OLD.id AS TEXT), OLD.lang, 2, substr(OLD.message, 1, 65537), OLD.isn_dt, OLD.user_id
  FROM alarm AS OLD WHERE OLD.id = NEW.id AND OLD.lang = NEW.lang;
END;
-- In a trigger the outer statement's conflict clause overrides an inner one: hence WHERE NOT EXISTS.
CREATE TRIGGER IF NOT EXISTS alarm_hub_insert AFTER INSERT ON alarm
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed)
  SELECT CAST(NEW.id AS TEXT), NEW.lang, 0
  WHERE NOT EXISTS (SELECT 1 FROM alarm_log WHERE seq = (SELECT max(seq) FROM alarm_log)
                    AND existed = 2 AND alarm_id = CAST(NEW.id AS TEXT) AND lang IS NEW.lang);
  INSERT INTO alarm_index (alarm_id, seq)
  SELECT CAST(NEW.id AS TEXT), (SELECT max(seq) FROM alarm_log)
  WHERE NOT EXISTS (SELECT 1 FROM alarm_index WHERE alarm_id = CAST(NEW.id AS TEXT));
END;
CREATE TRIGGER IF NOT EXISTS alarm_hub_update AFTER UPDATE ON alarm
WHEN OLD.id IS NOT NEW.id OR OLD.lang IS NOT NEW.lang OR OLD.message IS NOT NEW.message
  OR OLD.isn_dt IS NOT NEW.isn_dt OR OLD.user_id IS NOT NEW.user_id
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed, message, isn_dt, user_id)
  VALUES (CAST(OLD.id AS TEXT), OLD.lang, 1, substr(OLD.message, 1, 65537), OLD.isn_dt, OLD.user_id);
  INSERT INTO alarm_log (alarm_id, lang, existed)
  SELECT CAST(NEW.id AS TEXT), NEW.lang, 0 WHERE OLD.id IS NOT NEW.id OR OLD.lang IS NOT NEW.lang;
  DELETE FROM alarm_index WHERE alarm_id = CAST(OLD.id AS TEXT) AND NOT EXISTS (SELECT 1 FROM alarm WHERE id = OLD.id);
  INSERT INTO alarm_index (alarm_id, seq)
  SELECT CAST(NEW.id AS TEXT), (SELECT max(seq) FROM alarm_log)
  WHERE NOT EXISTS (SELECT 1 FROM alarm_index WHERE alarm_id = CAST(NEW.id AS TEXT));
END;
CREATE TRIGGER IF NOT EXISTS alarm_hub_delete AFTER DELETE ON alarm
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed, message, isn_dt, user_id)
  VALUES (CAST(OLD.id AS TEXT), OLD.lang, 1, substr(OLD.message, 1, 65537), OLD.isn_dt, OLD.user_id);
  DELETE FROM alarm_index WHERE alarm_id = CAST(OLD.id AS TEXT) AND NOT EXISTS (SELECT 1 FROM alarm WHERE id = OLD.id);
END;
