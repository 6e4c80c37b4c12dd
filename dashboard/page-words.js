// What the pages around the list say, each sentence in three languages; see words.js.

export const PAGE = {
  alarms: ["Alarms", "알림", "アラーム"],
  language: ["Language", "언어", "言語"],
  filter: ["Filter", "검색", "絞り込み"],
  unreadOnly: ["Unread only", "미확인만 보기", "未確認のみ"],
  all: ["Acknowledge all", "모두 확인", "すべて確認"],
  allSure: ["Acknowledge all?", "모두 확인할까요?", "すべて確認しますか？"],
  allFailed: ["Not all could be acknowledged.", "일부 알림을 확인 처리하지 못했습니다.", "一部のアラームを確認済みにできませんでした。"],
  sound: ["Sound", "알림음", "通知音"],
  notify: ["Notify", "데스크톱 알림", "デスクトップ通知"],
  insecure: [
    "Desktop notifications need HTTPS: over plain HTTP the browser allows them on the hub’s own machine only.",
    "데스크톱 알림에는 HTTPS가 필요합니다. HTTP에서는 허브가 실행 중인 기기에서만 쓸 수 있습니다.",
    "デスクトップ通知には HTTPS が必要です。HTTP では、ハブが動作している端末でのみ使えます。",
  ],
  blocked: [
    "Desktop notifications are blocked in this browser’s settings.",
    "이 브라우저 설정에서 데스크톱 알림이 차단되어 있습니다.",
    "このブラウザーの設定でデスクトップ通知がブロックされています。",
  ],
  unsupported: [
    "This browser has no desktop notifications.",
    "이 브라우저는 데스크톱 알림을 지원하지 않습니다.",
    "このブラウザーはデスクトップ通知に対応していません。",
  ],
  unread: ["% unread", "미확인 %건", "未確認 % 件"],
  found: ["% alarms shown", "%건 표시 중", "% 件を表示中"],
  next: ["next", "다음", "次へ"],
  previous: ["previous", "이전", "前へ"],
  acknowledge: ["acknowledge", "확인", "確認"],
  who: ["Whose alarms?", "누구의 알림을 볼까요?", "どのユーザーのアラームを表示しますか？"],
  user: ["User", "사용자", "ユーザー"],
  signIn: ["You are not signed in.", "로그인되어 있지 않습니다.", "サインインしていません。"],
  show: ["Show alarms", "알림 보기", "アラームを表示"],
  skip: ["Skip to the alarms", "알림 목록으로 건너뛰기", "アラーム一覧へ移動"],
};
