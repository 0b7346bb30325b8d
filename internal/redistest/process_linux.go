package redistest

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// attributes has the server die with the test process, however that ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// stopped reads the state that follows the name in brackets, see proc_pid_stat(5).
func stopped(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	end := bytes.LastIndexByte(stat, ')')
	return err == nil && len(stat) > end+2 && stat[end+2] == 'T'
}
