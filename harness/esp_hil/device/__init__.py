"""Between a link's bytes and a device's answers: the conversation, the handshake, one inference."""
