package edge

// CertificateFor gives tests outside of the package a self-signed certificate.
var CertificateFor = certificate
