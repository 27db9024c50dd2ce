"""What ESP-IDF, esptool and the chips have to say: images, partitions, configurations, boot logs, crashes."""
