-- A database as the first release left it: its tables and triggers, then what they wrote.
CREATE TABLE alarm (
  id TEXT, lang TEXT, message TEXT, isn_dt TEXT DEFAULT (datetime('now', 'localtime')), user_id TEXT, PRIMARY KEY (id, lang)
);
CREATE TABLE alarm_log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, alarm_id TEXT, lang, existed INTEGER NOT NULL, message, isn_dt, user_id,
  at INTEGER NOT NULL DEFAULT (strftime('%s', 'now'))
);
CREATE INDEX alarm_log_by_alarm ON alarm_log (alarm_id, seq);
CREATE TABLE alarm_index (alarm_id TEXT PRIMARY KEY, seq INTEGER NOT NULL UNIQUE);
CREATE TABLE alarm_ack (user_id TEXT, alarm_id TEXT, at INTEGER, PRIMARY KEY (user_id, alarm_id));
CREATE TABLE hub_claim (user_id TEXT PRIMARY KEY, revoked TEXT NOT NULL, at INTEGER NOT NULL);
CREATE TABLE hub_meta (key TEXT PRIMARY KEY, value);

CREATE TRIGGER alarm_hub_before_insert BEFORE INSERT ON alarm
WHEN EXISTS (SELECT 1 FROM alarm WHERE id = NEW.id AND lang = NEW.lang)
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed, message, isn_dt, user_id)
  SELECT CAST(OLD.id AS TEXT), OLD.lang, 2, substr(OLD.message, 1, 65537), OLD.isn_dt, OLD.user_id
  FROM alarm AS OLD WHERE OLD.id = NEW.id AND OLD.lang = NEW.lang;
END;
CREATE TRIGGER alarm_hub_insert AFTER INSERT ON alarm
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed)
  SELECT CAST(NEW.id AS TEXT), NEW.lang, 0
  WHERE NOT EXISTS (SELECT 1 FROM alarm_log WHERE seq = (SELECT max(seq) FROM alarm_log)
                    AND existed = 2 AND alarm_id = CAST(NEW.id AS TEXT) AND lang IS NEW.lang);
  INSERT INTO alarm_index (alarm_id, seq)
  SELECT CAST(NEW.id AS TEXT), (SELECT max(seq) FROM alarm_log)
  WHERE NOT EXISTS (SELECT 1 FROM alarm_index WHERE alarm_id = CAST(NEW.id AS TEXT));
END;
CREATE TRIGGER alarm_hub_update AFTER UPDATE ON alarm
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
CREATE TRIGGER alarm_hub_delete AFTER DELETE ON alarm
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed, message, isn_dt, user_id)
  VALUES (CAST(OLD.id AS TEXT), OLD.lang, 1, substr(OLD.message, 1, 65537), OLD.isn_dt, OLD.user_id);
  DELETE FROM alarm_index WHERE alarm_id = CAST(OLD.id AS TEXT) AND NOT EXISTS (SELECT 1 FROM alarm WHERE id = OLD.id);
END;
INSERT INTO hub_meta VALUES ('feed', '0a1b2c3d'), ('adopted', 2);
INSERT INTO sqlite_sequence (name, seq) VALUES ('alarm_log', 2);
INSERT INTO alarm_index VALUES ('old-1', 1), ('old-2', 2);
DROP TRIGGER alarm_hub_insert;
INSERT INTO alarm (id, lang, message, isn_dt) VALUES ('old-1', 'ko', '하나', '2023-12-01 11:10:04'),
  ('old-2', 'ko', '둘', '2023-12-01 11:10:05');
CREATE TRIGGER alarm_hub_insert AFTER INSERT ON alarm
BEGIN
  INSERT INTO alarm_log (alarm_id, lang, existed)
  SELECT CAST(NEW.id AS TEXT), NEW.lang, 0
  WHERE NOT EXISTS (SELECT 1 FROM alarm_log WHERE seq = (SELECT max(seq) FROM alarm_log)
                    AND existed = 2 AND alarm_id = CAST(NEW.id AS TEXT) AND lang IS NEW.lang);
  INSERT INTO alarm_index (alarm_id, seq)
  SELECT CAST(NEW.id AS TEXT), (SELECT max(seq) FROM alarm_log)
  WHERE NOT EXISTS (SELECT 1 FROM alarm_index WHERE alarm_id = CAST(NEW.id AS TEXT));
END;
INSERT INTO alarm (id, lang, message, isn_dt) VALUES ('3', 'ko', '셋', '2023-12-01 11:10:06'), ('3', 'ja', '三', '2023-12-01 11:10:06');
INSERT INTO alarm (id, lang, message, isn_dt, user_id) VALUES ('4', 'ko', '넷', '2023-12-01 11:10:07', 'tiaz');
UPDATE alarm SET message = '새로 셋' WHERE id = '3' AND lang = 'ko';
INSERT INTO alarm_ack VALUES ('tiaz', '3', 1701400000);
