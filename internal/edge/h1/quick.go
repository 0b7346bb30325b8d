package h1

// quickWrite bounds what is written without telling the scheduler: longer pieces keep the kernel busy for so long that another
// thread should go on meanwhile.
const quickWrite = 32 << 10

// readSome reads once, up to the deadline.
func (c *conn) readSome(p []byte) (int, error) {
	if c.plain.Ready() {
		return c.plain.Read(p)
	}
	return c.Conn.Read(p)
}

// writeAll writes up to the deadline.
func (c *conn) writeAll(p []byte) (int, error) {
	if c.plain.Ready() && len(p) <= quickWrite {
		return c.plain.Write(p)
	}
	return c.Conn.Write(p)
}
