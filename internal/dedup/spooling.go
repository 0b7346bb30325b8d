package dedup

import "github.com/oncegate/oncegate/internal/dedup/spool"

// Spool keeps results on this machine's disk that the store did not take, so that they outlive the process. See package spool.
type Spool interface {
	Put(e spool.Entry) error // durable when it returns
	Delete(e spool.Entry) error
	All(f func(spool.Entry) bool) error // what an earlier run left
}
