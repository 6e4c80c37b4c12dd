// What the page around the list says, in three languages.

const en = {
  alarms: "Alarms",
  language: "Language",
  filter: "Filter",
  unreadOnly: "Unread only",
  all: "Acknowledge all",
  allSure: "Acknowledge all?",
  sound: "Sound",
  notify: "Notifications",
  insecure: "Desktop notifications need HTTPS: over plain HTTP the browser allows them on this machine itself only.",
  blocked: "Desktop notifications are blocked in this browser's settings.",
  unsupported: "This browser has no desktop notifications.",
  unread: (/** @type {string} */ n) => `${n} unread`,
  found: (/** @type {number} */ shown, /** @type {number} */ loaded) => `${shown} of ${loaded} loaded alarms`,
  keys: [
    ["j", "next"],
    ["k", "previous"],
    ["a", "acknowledge"],
    ["/", "filter"],
  ],
  who: "Whose alarms?",
  user: "User",
  show: "Show alarms",
  operator: "Operator’s page",
  skip: "Skip to the alarms",
  script: "This page needs JavaScript.",
};

/** @typedef {typeof en} PageWords */

/** @type {Record<string, PageWords>} */
const ALL = {
  en,
  ko: {
    alarms: "알림",
    language: "언어",
    filter: "검색",
    unreadOnly: "미확인만",
    all: "모두 확인",
    allSure: "모두 확인할까요?",
    sound: "소리",
    notify: "바탕화면 알림",
    insecure: "바탕화면 알림에는 HTTPS가 필요합니다. 일반 HTTP에서는 허브가 있는 기기에서만 쓸 수 있습니다.",
    blocked: "이 브라우저 설정에서 바탕화면 알림이 차단되어 있습니다.",
    unsupported: "이 브라우저는 바탕화면 알림을 지원하지 않습니다.",
    unread: (n) => `미확인 ${n}건`,
    found: (shown, loaded) => `불러온 알림 ${loaded}건 중 ${shown}건`,
    keys: [
      ["j", "다음"],
      ["k", "이전"],
      ["a", "확인"],
      ["/", "검색"],
    ],
    who: "누구의 알림을 볼까요?",
    user: "사용자",
    show: "알림 보기",
    operator: "운영자 페이지",
    skip: "알림으로 건너뛰기",
    script: "이 페이지에는 JavaScript가 필요합니다.",
  },
  ja: {
    alarms: "アラーム",
    language: "言語",
    filter: "絞り込み",
    unreadOnly: "未確認のみ",
    all: "すべて確認",
    allSure: "すべて確認しますか?",
    sound: "音",
    notify: "デスクトップ通知",
    insecure: "デスクトップ通知には HTTPS が必要です。HTTP ではハブのある端末でのみ使えます。",
    blocked: "このブラウザーの設定でデスクトップ通知がブロックされています。",
    unsupported: "このブラウザーはデスクトップ通知に対応していません。",
    unread: (n) => `未確認 ${n} 件`,
    found: (shown, loaded) => `読み込んだ ${loaded} 件中 ${shown} 件`,
    keys: [
      ["j", "次へ"],
      ["k", "前へ"],
      ["a", "確認"],
      ["/", "絞り込み"],
    ],
    who: "どのユーザーのアラームを表示しますか?",
    user: "ユーザー",
    show: "アラームを表示",
    operator: "オペレーターページ",
    skip: "アラームへ移動",
    script: "このページには JavaScript が必要です。",
  },
};

/** @param {string} language */
export function pageWords(language) {
  return ALL[language] ?? en;
}
