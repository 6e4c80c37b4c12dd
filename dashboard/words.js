// What the list says, in three languages.

/** @import { StateDetail } from "./types.js" */

const en = {
  alarms: "Alarms",
  empty: "No alarms yet.",
  nothing: "None of the alarms loaded so far fits.",
  loading: "Fetching alarms…",
  older: "Older alarms",
  newest: "Back to the newest",
  acknowledge: "Acknowledge",
  takeBack: "Undo",
  unread: "Not acknowledged",
  truncated: "Shortened: the text is longer than the hub sends.",
  failed: "The hub did not take that. Please try again.",
  signIn: "Please sign in again.",
  pill: (/** @type {number} */ n) => (n === 1 ? "1 new alarm" : `${n} new alarms`),
  said: (/** @type {number} */ n, /** @type {string} */ text) =>
    n === 1 ? `New alarm: ${text}` : `${n} new alarms. The latest: ${text}`,
  sourceDown: "The hub cannot read its database: alarms may be missing.",
  since: (/** @type {string} */ time) => `Since ${time}.`,
  states: {
    idle: "Not connected",
    connecting: "Connecting…",
    live: "Live",
    reconnecting: "Connection lost",
    superseded: "Opened in another window",
    unauthorized: "Not signed in",
    stopped: "Disconnected",
    closed: "Disconnected",
  },
  arriving: "New alarms arrive here at once.",
  gone: "New alarms no longer arrive here.",
  causes: {
    network: "The hub cannot be reached.",
    offline: "This device has no network.",
    ended: "The connection was closed.",
    silent: "The hub went silent.",
    hidden: "The page was put away.",
    lagging: "This device was too slow.",
    busy: "The hub is busy.",
    shutdown: "The hub is restarting.",
    kicked: "An operator ended the connection.",
    expired: "The sign-in has expired.",
  },
  status: (/** @type {number} */ status) => `The server answered ${status}.`,
  retryIn: (/** @type {number} */ s) => `Trying again in ${s} s.`,
  retrying: "Trying again…",
  retry: "Try now",
  takeOver: "Take over here",
  connect: "Connect again",
};

/** @typedef {typeof en} Words */

/** @type {Words} */
const ko = {
  alarms: "알림",
  empty: "아직 알림이 없습니다.",
  nothing: "지금까지 불러온 알림 중 조건에 맞는 것이 없습니다.",
  loading: "알림을 불러오는 중…",
  older: "이전 알림 보기",
  newest: "최신 알림으로",
  acknowledge: "확인",
  takeBack: "확인 취소",
  unread: "미확인",
  truncated: "허브가 보내는 길이를 넘어 잘린 내용입니다.",
  failed: "허브에 저장하지 못했습니다. 다시 시도해 주세요.",
  signIn: "다시 로그인해 주세요.",
  pill: (n) => `새 알림 ${n}건`,
  said: (n, text) => (n === 1 ? `새 알림: ${text}` : `새 알림 ${n}건. 최신: ${text}`),
  sourceDown: "허브가 데이터베이스를 읽지 못합니다. 빠진 알림이 있을 수 있습니다.",
  since: (time) => `${time}부터.`,
  states: {
    idle: "연결되지 않음",
    connecting: "연결 중…",
    live: "실시간 연결됨",
    reconnecting: "연결 끊김",
    superseded: "다른 창에서 열림",
    unauthorized: "로그인되지 않음",
    stopped: "연결 종료됨",
    closed: "연결 종료됨",
  },
  arriving: "새 알림이 바로 표시됩니다.",
  gone: "이 창에는 더 이상 새 알림이 오지 않습니다.",
  causes: {
    network: "허브에 연결할 수 없습니다.",
    offline: "이 기기가 네트워크에 연결되어 있지 않습니다.",
    ended: "연결이 닫혔습니다.",
    silent: "허브에서 응답이 없습니다.",
    hidden: "페이지가 숨겨져 있었습니다.",
    lagging: "이 기기의 수신이 너무 느렸습니다.",
    busy: "허브가 바쁩니다.",
    shutdown: "허브가 다시 시작되고 있습니다.",
    kicked: "운영자가 연결을 종료했습니다.",
    expired: "로그인이 만료되었습니다.",
  },
  status: (status) => `서버가 ${status}(으)로 응답했습니다.`,
  retryIn: (s) => `${s}초 후 다시 시도합니다.`,
  retrying: "다시 시도하는 중…",
  retry: "지금 시도",
  takeOver: "여기서 이어받기",
  connect: "다시 연결",
};

/** @type {Words} */
const ja = {
  alarms: "アラーム",
  empty: "アラームはまだありません。",
  nothing: "読み込んだアラームに該当するものはありません。",
  loading: "アラームを読み込んでいます…",
  older: "以前のアラーム",
  newest: "最新に戻る",
  acknowledge: "確認",
  takeBack: "確認を取り消す",
  unread: "未確認",
  truncated: "ハブが送れる長さを超えたため省略されています。",
  failed: "ハブに保存できませんでした。もう一度お試しください。",
  signIn: "もう一度サインインしてください。",
  pill: (n) => `新着アラーム ${n} 件`,
  said: (n, text) => (n === 1 ? `新着アラーム: ${text}` : `新着アラーム ${n} 件。最新: ${text}`),
  sourceDown: "ハブがデータベースを読めません。表示されていないアラームがある可能性があります。",
  since: (time) => `${time} から。`,
  states: {
    idle: "未接続",
    connecting: "接続しています…",
    live: "ライブ接続中",
    reconnecting: "接続が切れました",
    superseded: "別のウィンドウで開かれました",
    unauthorized: "サインインしていません",
    stopped: "切断されました",
    closed: "切断されました",
  },
  arriving: "新しいアラームはすぐにここに届きます。",
  gone: "新しいアラームはもうここには届きません。",
  causes: {
    network: "ハブに接続できません。",
    offline: "この端末はネットワークに接続されていません。",
    ended: "接続が閉じられました。",
    silent: "ハブからの応答がありません。",
    hidden: "ページが隠れていました。",
    lagging: "この端末の受信が遅すぎました。",
    busy: "ハブが混み合っています。",
    shutdown: "ハブが再起動しています。",
    kicked: "オペレーターが接続を終了しました。",
    expired: "サインインの有効期限が切れました。",
  },
  status: (status) => `サーバーが ${status} を返しました。`,
  retryIn: (s) => `${s} 秒後に再試行します。`,
  retrying: "再試行しています…",
  retry: "今すぐ再試行",
  takeOver: "ここで引き継ぐ",
  connect: "再接続",
};

/** @type {Record<string, Words>} */
const ALL = { en, ko, ja };

/** The languages that there are words in. */
export const LANGUAGES = Object.keys(ALL);

/**
 * The first of some tags that there are words in.
 * @param {readonly string[]} tags
 */
export function spoken(tags) {
  return tags.map((tag) => tag.toLowerCase().split("-")[0] ?? "").find((tag) => tag in ALL) ?? "en";
}

/** @param {string} language one of {@link LANGUAGES} */
export function words(language) {
  return ALL[language] ?? en;
}

/**
 * What a state means, and why it is so; empty where its name says it all.
 * @param {Words} words
 * @param {StateDetail} detail
 */
export function meaning(words, { state, cause, status }) {
  if (state === "live") return words.arriving;
  const causes = /** @type {Record<string, string>} */ (words.causes);
  const why = cause === "status" ? words.status(status) : (causes[cause] ?? "");
  const gone = ["superseded", "unauthorized", "stopped", "closed"].includes(state) ? words.gone : "";
  return `${why} ${gone}`.trim();
}
