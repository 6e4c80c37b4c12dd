// What the list says, each sentence in three languages.

/** @import { StateDetail } from "./types.js" */

/** In the order of each sentence. */
export const LANGUAGES = ["en", "ko", "ja"];

/** In each of them; `%` stands for a value. @typedef {readonly string[]} Sentence */

export const WORDS = {
  alarms: ["Alarms", "알림", "アラーム"],
  empty: ["No alarms.", "알림이 없습니다.", "アラームはありません。"],
  none: ["No alarm matches.", "조건에 맞는 알림이 없습니다.", "条件に一致するアラームはありません。"],
  older: ["Older alarms", "이전 알림", "以前のアラーム"],
  newest: ["Back to the newest", "최신 알림으로", "最新に戻る"],
  acknowledge: ["Acknowledge", "확인", "確認"],
  takeBack: ["Undo", "확인 취소", "確認を取り消す"],
  unread: ["Unread", "미확인", "未確認"],
  truncated: ["Shortened", "일부만 표시됨", "一部省略"],
  failed: ["The hub did not take that.", "허브가 처리하지 못했습니다.", "ハブで処理できませんでした。"],
  one: ["1 new alarm", "새 알림 1건", "新着アラーム 1 件"],
  many: ["% new alarms", "새 알림 %건", "新着アラーム % 件"],
  missing: ["Alarms may be missing.", "빠진 알림이 있을 수 있습니다.", "届いていないアラームがある可能性があります。"],
  since: ["Since %.", "%부터.", "%から。"],
  arriving: ["New alarms arrive here at once.", "새 알림이 바로 표시됩니다.", "新しいアラームはすぐに表示されます。"],
  gone: [
    "New alarms no longer arrive here.",
    "새 알림이 더 이상 여기로 오지 않습니다.",
    "新しいアラームはこの画面に届かなくなりました。",
  ],
  status: ["The server answered %.", "서버 응답: %.", "サーバーの応答: %。"],
  retryIn: ["Trying again in % s.", "%초 후 다시 시도합니다.", "% 秒後に再試行します。"],
  retrying: ["Trying again…", "다시 시도하는 중…", "再試行しています…"],
  retry: ["Try now", "지금 시도", "今すぐ再試行"],
  takeOver: ["Take over here", "여기서 이어받기", "ここで引き継ぐ"],
  connect: ["Connect again", "다시 연결", "再接続"],
};

/** @type {Record<string, Sentence>} */
export const STATES = {
  connecting: ["Connecting…", "연결 중…", "接続中…"],
  live: ["Live", "실시간 연결됨", "リアルタイム受信中"],
  reconnecting: ["Connection lost", "연결 끊김", "接続が切れました"],
  superseded: ["Opened in another window", "다른 창에서 열림", "別のウィンドウで開かれています"],
  unauthorized: ["Not signed in", "로그인되지 않음", "サインインしていません"],
  down: ["The hub cannot read its database", "허브가 데이터베이스를 읽지 못함", "ハブがデータベースを読み取れません"],
  stopped: ["Disconnected", "연결 종료됨", "切断されました"],
};

/** @type {Record<string, Sentence>} */
const CAUSES = {
  network: ["The hub cannot be reached.", "허브에 연결할 수 없습니다.", "ハブに接続できません。"],
  offline: ["This device has no network.", "이 기기에 네트워크가 없습니다.", "この端末はオフラインです。"],
  ended: ["The connection was closed.", "연결이 종료되었습니다.", "接続が閉じられました。"],
  silent: ["The hub went silent.", "허브에서 응답이 없습니다.", "ハブからの応答がありません。"],
  lagging: ["This device was too slow.", "이 기기의 수신이 너무 느렸습니다.", "この端末の受信が追いつきませんでした。"],
  busy: ["The hub is busy.", "허브가 혼잡합니다.", "ハブが混み合っています。"],
  shutdown: ["The hub is restarting.", "허브를 다시 시작하고 있습니다.", "ハブを再起動しています。"],
  kicked: ["An operator ended it.", "운영자가 연결을 끊었습니다.", "運用担当者が切断しました。"],
  expired: ["The sign-in has expired.", "로그인이 만료되었습니다.", "サインインの有効期限が切れました。"],
};

/**
 * The first of some tags that there are words in.
 * @param {readonly string[]} tags
 */
export const spoken = (tags) =>
  tags.map((tag) => tag.toLowerCase().split("-")[0] ?? "").find((tag) => LANGUAGES.includes(tag)) ?? "en";

/** @param {number} n new alarms */
export const many = (n) => (n === 1 ? WORDS.one : WORDS.many);

/**
 * @param {string} language
 * @param {Sentence | undefined} sentence
 * @param {string | number} [value]
 */
export const say = (language, sentence, value = "") =>
  (sentence?.[LANGUAGES.indexOf(language)] ?? "").replace("%", () => String(value));

/**
 * Why a state is so, and what it means.
 * @param {string} language
 * @param {StateDetail} detail
 */
export function meaning(language, { state, cause, status }) {
  const why = cause === "status" ? say(language, WORDS.status, status) : say(language, CAUSES[cause]);
  const ended = ["superseded", "unauthorized", "stopped", "closed"].includes(state);
  return `${why} ${say(language, state === "live" ? WORDS.arriving : ended ? WORDS.gone : undefined)}`.trim();
}
