package main

import (
	"fmt"
	"time"
)

// bodies moves 50 MiB up and down, four at a time, and prints how much resident memory each contestant gained.
func (b *bench) bodies() error {
	fmt.Println("bodies: 50 MiB up and down, four at a time; growth of resident memory (peak)")
	for _, c := range []contestant{{name: "bare fasthttp proxy, streaming", start: bareStart}, ours(documentPlain)} {
		p, err := c.start(b)
		if err != nil {
			return err
		}
		err = b.grow(c.name, p)
		p.stop()
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	fmt.Println()
	return nil
}

func (b *bench) grow(name string, p *process) error {
	if err := load(p.address, []byte(get("none")), 1000); err != nil {
		return err
	}
	before := p.memory("VmHWM")
	for _, up := range []bool{false, true} {
		if err := big(p.address, up); err != nil {
			return err
		}
	}
	fmt.Printf("  %-32s +%.1f MiB\n", name, float64(p.memory("VmHWM")-before)/1024)
	return nil
}

// loadRoutes prints how long 10,000 routes take to be checked as a whole process, against 10.
func (b *bench) loadRoutes() error {
	fmt.Println("load-routes: `gateway check` of 10 and of 10,000 routes, as a whole process")
	for _, n := range []int{10, 10000} {
		file, err := b.document(documentRoutes(n)(b), freeAddress())
		if err != nil {
			return err
		}
		began := time.Now()
		c := command(b.binary, "check", "-config", file)
		c.Stderr = nil // it warns of the memory store
		if err := c.Run(); err != nil {
			return err
		}
		fmt.Printf("  %6d routes  %v\n", n, time.Since(began).Round(time.Millisecond))
	}
	return nil
}
