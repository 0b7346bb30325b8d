package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/oncegate/oncegate/internal/auth"
)

// hash prints the hash of the password on the first line of standard input. It is no flag: arguments are seen by every user of
// the machine and stay in the shell's history.
func hash(t terminal, args []string) int {
	set := flags(t, "hash")
	if code, ok := parse(t, set, args); !ok {
		return code
	}
	line, err := bufio.NewReaderSize(os.Stdin, 4096).ReadString('\n')
	password := strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if err != nil && password == "" {
		fmt.Fprintln(t.err, "gateway hash: there is no password on standard input")
		return exitBad
	}
	text, err := auth.HashPassword(password)
	if err != nil {
		fmt.Fprintf(t.err, "gateway hash: the password %v\n", err)
		return exitBad
	}
	fmt.Fprintln(t.out, text)
	return exitOK
}
