//go:build failpoint

package h1

import "github.com/oncegate/oncegate/internal/failpoint"

// endHere ends the process before, in the middle of or right behind what it writes. The kernel still sends what it was given.
func (k *call) endHere() {
	failpoint.Hit(failpoint.Connected)
	all := append(append([]byte(nil), k.c.out...), k.body.bytes[min(inlineBody, len(k.body.bytes)):]...)
	if failpoint.Due(failpoint.HalfWritten) {
		_, _ = k.c.nc.Write(all[:len(all)/2])
		failpoint.Kill()
	}
	if failpoint.Due(failpoint.Written) {
		_, _ = k.c.nc.Write(all)
		failpoint.Kill()
	}
}
