"""Can drawn masks be told from real ones?"""
