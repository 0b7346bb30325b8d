package h1

const pollHangup = 0x2000 // POLLRDHUP
