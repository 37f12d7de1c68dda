package main

// The image holds nothing but the program, so the program brings the certificate authorities that browsers trust; a
// system's own stand above them. Without them a page to an https address would fail in the image.
import _ "golang.org/x/crypto/x509roots/fallback"
