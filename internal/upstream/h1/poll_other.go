//go:build unix && !linux

package h1

const pollHangup = 0 // a hang-up shows as a readable socket here
